"""Bad videos with known truth, made from real clips, pictures and text, to train filters and to test them."""
