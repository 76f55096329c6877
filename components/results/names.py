"""The names of the files in steps' folders that other steps read."""

SCORES_FILE, PROFILE_FILE, HISTORY_FILE = "scores.json", "profile.json", "history.csv"
