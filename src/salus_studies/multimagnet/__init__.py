"""MultiMagNet (Machado, Goldschmidt and Silva, ICEIS 2019): detection of adversarial images by random ensembles."""
