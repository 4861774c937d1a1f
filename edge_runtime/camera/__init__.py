"""`irv2-predict --camera`: frames as they come, the newest answered, those that nobody had time for dropped."""
