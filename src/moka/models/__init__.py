"""What a loaded model is: its features, and how each kind of model predicts."""
