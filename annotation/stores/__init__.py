"""Behind the store: its databases, their locks and schema, and moving a store as a whole."""
