"""nano's sizes and settings, shared by training, evaluation and models/nano/preset.json."""

FRAMES = 100
SEGMENT_FRAMES = 5
TOKENS_PER_SEGMENT = 4
GLOBAL_LAYERS = 4
RESIZE = "squash"

IMAGE_SIZE = 112
PATCH_SIZE = 16
TOWER = {"hidden_size": 160, "intermediate_size": 640, "num_hidden_layers": 5, "num_attention_heads": 5}
MERGE_HEADS = TOWER["num_attention_heads"]

# Seeds: stories below TRAINING_SEEDS are for training; those for validation and test start above them.
VALIDATION_SEED = 1_000_000
TEST_SEED = 2_000_000
