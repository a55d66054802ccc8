"""Which slides and regions a person should look at, before a model is relied on for the rest."""
