"""Programs of ONNX whose weights are integers of 8 bits, by ONNX Runtime's own tool."""

import logging
from pathlib import Path

_OPERATORS = ["MatMul", "Gemm", "Gather"]  # and not convolutions, which stay as they are


def to_eight_bits(path: Path) -> None:
    """Rewrite a program: weights of products and embeddings in 8 bits, one scale for each column (dynamic quantization,
    which rounds what is multiplied with them by its own largest number in every call).

    The integers are unsigned, as what they are multiplied with is: processors without instructions for both kinds in
    one product would let a sum run over.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    del model.graph.value_info[:]  # shapes of the exporter, which the tool infers otherwise, and would refuse
    ranks = {one.name: len(one.dims) for one in model.graph.initializer}
    odd = [node.name for node in model.graph.node if node.op_type == "MatMul" and ranks.get(node.input[1], 2) != 2]
    logging.getLogger().addFilter(_is_no_advice)
    try:
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            weight_type=QuantType.QUInt8,
            nodes_to_exclude=odd,
        )
    finally:
        logging.getLogger().removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    """The tool advises a step before it, which has nothing to do in these programs."""
    return "pre-processing before quantization" not in record.getMessage()
