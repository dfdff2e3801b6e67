import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip(
    "transformers", reason="language models need transformers: pip install 'coreset-lightning[llm]'"
)
if (HERE := str(Path(__file__).parent)) not in sys.path:
    sys.path.append(HERE)

CORPUS = [
    (
        "Below is an instruction that describes a task. Write a response.\n\n### Instruction:\nName"
        " the capital.\n\n### Response:The capital is Paris."
    ),
    (
        "Smile::) smile::) smile::)\n\n\n\nSun and moon\n\n\n\nSun and moon\n\n- one\n\n- two\n\n-"
        " three"
    ),
    "USER: add 1 and 2 ASSISTANT: the sum is 3, and the answer is right.",
    (
        "the quick brown fox jumps over the lazy dog; the answer to the task is the name of the"
        " instruction"
    ),
]
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nBe"
    " kind.<|im_end|>\n{% endif %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{%"
    " endif %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if"
    " add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _tokenizer(adds_bos=False, bos="<|im_start|>"):
    """A byte-level BPE of about 330 tokens that merges `::` and runs of newlines, as real ones do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=TEMPLATE,
    )


def _save(folder, net, tokenizer=None):
    net.save_pretrained(folder)
    (tokenizer or _tokenizer()).save_pretrained(folder)
    return str(folder)


def _llama(**more):
    settings = {
        "vocab_size": 336,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            **settings
            | {
                "max_position_embeddings": 1024,
                "initializer_range": 0.4,
                "tie_word_embeddings": True,
            }
            | more
        )
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A random Llama of two layers with a real tokenizer, in a folder."""
    return _save(tmp_path_factory.mktemp("tiny"), _llama())


@pytest.fixture(scope="session")
def with_bos(tmp_path_factory):
    """The same, with a tokenizer that puts a start token before every text."""
    return _save(
        tmp_path_factory.mktemp("bos"), _llama(), _tokenizer(adds_bos=True, bos="<|endoftext|>")
    )


class Reference:
    """The definition, one row at a time: a float64 model without batches, padding or caches, and
    log-softmax written out in numpy.
    """

    def __init__(self, folder):
        self.net = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64
        ).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def losses(self, context, target):
        ids = [*context, *target]
        with torch.no_grad():
            logits = self.net(torch.tensor([ids]), use_cache=False).logits[0].double().numpy()
        out = []
        for at in range(max(1, len(context)), len(ids)):
            z = logits[at - 1]
            top = z.max()
            out.append(top + np.log(np.exp(z - top).sum()) - z[ids[at]])
        return np.array(out)

    def mean(self, context, target):
        losses = self.losses(context, target)
        return losses.mean() if len(losses) else np.nan

    def ids(self, text, special=False):
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])


@pytest.fixture(scope="session")
def reference(tiny):
    return Reference(tiny)


@pytest.fixture(scope="session")
def reference_of():
    return Reference


@pytest.fixture(scope="session")
def save():
    """save(folder, net, tokenizer=None) -> the folder as text."""
    return _save


@pytest.fixture(scope="session")
def llama():
    return _llama


@pytest.fixture(scope="session")
def make_tokenizer():
    return _tokenizer
