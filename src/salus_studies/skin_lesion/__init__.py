"""The skin-lesion thesis: poisoning, FGSM and UAP against two networks, and two countermeasures."""
