"""Public data sets as their makers publish them: which files, how they unpack, and how labels convert."""
