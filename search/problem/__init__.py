"""What is searched: the grammar of recipes, the budgets, the model and its data."""
