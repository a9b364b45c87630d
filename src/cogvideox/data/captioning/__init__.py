"""Dense captions of clips: a short caption, captions of frames, one summary of them, and checks of what it says."""
