"""The techniques, one file each: a config, which a recipe names and a trial's key is made of, and one function."""
