"""Native operators and fused training operators."""
