"""ECG-ATK-GAN (Hossain et al., 2021 and 2022): two papers, of four and of six attacks."""
