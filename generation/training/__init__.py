"""How the starters were made, from nothing: the world they know and one trainer per family. No Django here."""
