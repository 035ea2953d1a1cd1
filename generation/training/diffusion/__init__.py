"""How the diffusion starter is trained: an autoencoder first, then a denoiser with its text encoder. No Django here.

python -m generation.training.diffusion autoencoder --minutes 35
python -m generation.training.diffusion denoiser --minutes 45
python -m generation.training.diffusion export
"""
