"""The transcriber beside what others use for Whisper: same random weights of the true shapes, same length of output."""
