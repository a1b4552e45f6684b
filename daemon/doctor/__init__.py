"""`signaged doctor`: what the daemon stands on, looked at part by part, each look bounded; nothing is changed."""
