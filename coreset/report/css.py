"""The style sheet of the page: one column, system fonts, light and dark by what the reader's system
prefers.
"""

from __future__ import annotations

from coreset.report.theme import FONT, variables

CSS = f"""
:root{{color-scheme:light dark;--paper:#fff;--sunk:#f6f7f9;{variables()}}}
@media(prefers-color-scheme:dark){{:root{{--paper:#15171b;--sunk:#1d2025;{variables(True)}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 {FONT};-webkit-text-size-adjust:100%}}
main{{max-width:1064px;margin:0 auto;padding:56px 28px 72px}}
header p{{margin:0;color:var(--muted)}}
.kicker{{font-size:13px;letter-spacing:.02em}}
h1{{font-size:30px;line-height:1.25;font-weight:650;letter-spacing:-.015em;margin:10px 0 14px;max-width:30em;text-wrap:balance}}
h2{{font-size:19px;font-weight:650;letter-spacing:-.005em;margin:60px 0 2px}}
h3{{font-size:14px;font-weight:600;margin:0 0 4px;overflow-wrap:anywhere}}
h3 small{{font-weight:400;color:var(--muted);font-size:12px}}
h4{{font-size:12px;font-weight:600;margin:0;color:var(--ink)}}
h4 span{{display:block;font-weight:400;color:var(--muted)}}
p.note{{margin:2px 0 16px;color:var(--muted);font-size:14px;max-width:54em;text-wrap:pretty}}
svg{{display:block;width:100%;height:auto;stroke-linejoin:round;overflow:visible}}
.curve{{margin-top:30px;overflow-x:auto}}
.curve svg{{min-width:600px;overflow:hidden}}
.scroll{{overflow-x:auto}}
table{{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}}
.numbers{{width:100%}}
.numbers th{{font-weight:500;color:var(--muted);font-size:12.5px;text-align:right;padding:4px 6px;vertical-align:bottom;white-space:nowrap;line-height:1.35}}
.numbers td{{padding:6px 6px;text-align:right;white-space:nowrap;border-top:1px solid var(--rule)}}
.numbers th:first-child,.numbers td:first-child{{text-align:left;padding-left:0}}
.numbers td:last-child,.numbers th:last-child{{padding-right:0}}
.numbers td.left,.numbers th.left{{text-align:left;white-space:normal}}
.numbers small{{color:var(--muted);font-size:11.5px}}
.numbers tr.random td{{color:var(--muted)}}
.numbers b{{font-weight:650;color:var(--ink)}}
i.dot{{display:inline-block;width:9px;height:9px;border-radius:50%;margin-right:8px}}
.grid{{display:grid;gap:26px 30px;grid-template-columns:repeat(auto-fill,minmax(var(--least,270px),1fr))}}
.grid>div{{min-width:0}}
.grid.one{{max-width:560px}}
.key{{display:flex;flex-wrap:wrap;gap:3px 15px;list-style:none;margin:0 0 16px;padding:0;font-size:13px;color:var(--muted)}}
.key i{{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}}
details{{border-top:1px solid var(--rule)}}
details:last-of-type{{border-bottom:1px solid var(--rule)}}
summary{{cursor:pointer;padding:9px 0;font-size:14px;font-weight:600}}
summary small{{font-weight:400;color:var(--muted);font-size:13px;margin-left:8px}}
.round{{display:grid;grid-template-columns:92px 1fr;gap:0 12px;margin:4px 0 14px}}
.picks{{display:flex;flex-wrap:wrap;gap:7px 6px;align-items:flex-start}}
figure{{margin:0;width:var(--thumb,50px)}}
figure img{{display:block;width:100%;border:2px solid;border-radius:4px}}
img.hard{{image-rendering:pixelated}}
figcaption{{font-size:10.5px;line-height:1.5;text-align:center;color:var(--muted);font-variant-numeric:tabular-nums}}
.overlap th{{font-weight:400;color:var(--muted);text-align:right;padding:2px 10px 2px 0;font-size:13px}}
.overlap td{{width:64px;height:36px;text-align:center;border:2px solid var(--paper);border-radius:6px;
  background:color-mix(in srgb,var(--heat) calc(var(--much,0%)*.42),var(--sunk))}}
.overlap tfoot td{{background:none}}
.overlap tfoot th{{text-align:center;padding:4px 3px;max-width:80px;font-size:12px;overflow-wrap:anywhere;vertical-align:top;line-height:1.25}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:3px 22px;font-size:13.5px;margin:14px 0}}
dt{{color:var(--muted)}}
dd{{margin:0;overflow-wrap:anywhere}}
@media(max-width:640px){{main{{padding:28px 16px}}h1{{font-size:23px}}.round{{grid-template-columns:1fr;gap:4px}}}}
@media print{{main{{max-width:none;padding:0}}details{{break-inside:avoid}}}}
"""
