"""The mini benchmark: a synthetic world, its captions, and the pretraining of its tiny CLIP."""
