"""Language models that answer a conversation, and what their answers are like. Importing it needs no torch."""
