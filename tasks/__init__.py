"""How one stage is done, one module a stage; nothing here decides what runs when."""
