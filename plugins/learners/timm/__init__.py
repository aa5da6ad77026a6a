"""Networks of timm, from scratch or from published weights."""
