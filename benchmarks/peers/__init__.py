"""Side by side with genlm-control, its_hub and treequest: what each evaluates, and what each chooses."""
