"""Pool, Signals, Selection, Strategy, budgets and storage: numpy only; the interfaces live here."""
