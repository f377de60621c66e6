"""How every stage asks a model, and how what the model wrote becomes a checked output."""
