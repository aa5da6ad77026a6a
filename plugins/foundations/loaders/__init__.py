"""Opens pretrained models in their published formats; shared by the plugins that use them, itself no plugin."""
