"""Where everything comes from and where it went: a slide's page, and the way back from what was made."""
