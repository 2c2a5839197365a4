"""I-defender (Zheng and Hong, NeurIPS 2018): its nine tables, and what Salus measures beside them."""
