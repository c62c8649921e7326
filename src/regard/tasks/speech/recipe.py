"""Everything that decides a run of speech recognition, as closed, typed values."""

from dataclasses import dataclass, field
from typing import Literal

from regard.data.sound_augmentation import SoundAugmentation
from regard.decoding import Beam
from regard.models.recognizer import Kind, Listening, Recognizer
from regard.models.transformer import Layers
from regard.nn.log_mel import LogMel
from regard.tasks.sub_words import SubWords
from regard.training import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the recordings and their words are, inside the data folder (Kaldi, LibriSpeech, Sphinx are found).

    Args:
        audio: The column or key of a recording's file (CSV, TSV, JSONL).
        text: The column or key of what is said in it.
        broken: What to do about a recording that cannot be read or is too long or short: stop, or skip it, and say so.
        train: Name of the training split.
        validation: Name of the validation split.
        test: Name of the test split, which only `regard evaluate` reads.
    """

    audio: str = "audio"
    text: str = "text"
    broken: Literal["stop", "skip"] = "stop"
    train: str = "train"
    validation: str = "val"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model: an encoder of sound, labels of its positions (CTC), and a decoder whose words attend to them.

    Args:
        architecture: conformer or transformer, the blocks that hear, with a Transformer decoder; or las (Listen, Attend
            and Spell): layers of LSTM, and a decoder of one that knows where it looked before.
        dim: Width of the encoder and of the decoder.
        layers: Blocks of the encoder.
        decoder_layers: Blocks of the decoder; las has one layer (0: CTC alone).
        heads: Attention heads (conformer, transformer).
        feed_forward: Width inside the feed-forward layers (conformer, transformer).
        kernel: Positions, of four frames, that the Conformer's convolution mixes; odd.
        channels: Channels of the two convolutions before the blocks, which bring frames to positions.
        dropout: Probability of dropping a feature.
    """

    architecture: Literal["conformer", "transformer", "las"] = "conformer"
    dim: int = 144
    layers: int = 8
    decoder_layers: int = 3
    heads: int = 4
    feed_forward: int = 576
    kernel: int = 15
    channels: int = 64
    dropout: float = 0.1

    def build(self, vocabulary: int, bands: int) -> Recognizer:
        """The model, with new weights."""
        encoder = Layers(
            dim=self.dim,
            heads=self.heads,
            feed_forward=self.feed_forward,
            layers=self.layers,
            dropout=self.dropout,
            positions="rotary",
        )
        decoder = Layers(
            dim=self.dim,
            heads=self.heads,
            feed_forward=self.feed_forward,
            layers=self.decoder_layers,
            dropout=self.dropout,
        )
        kind: Kind = "recurrent" if self.architecture == "las" else self.architecture
        listening = Listening(bands=bands, of_block=encoder, kind=kind, kernel=self.kernel, channels=self.channels)
        return Recognizer(vocabulary, listening, decoder if self.decoder_layers else None)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run of speech recognition.

    Args:
        data: The folder with the recordings.
        files: What is called how in it.
        start: A pretrained model that is run as it is, hf:ID or hf:FOLDER; none is trained further.
        sub_words: How text is cut; of few tokens, they are characters.
        rate: Samples a second; recordings of another rate are brought to it.
        bands: Bands of frequency that the model hears.
        step: Seconds from one frame of 25 ms to the next, of which four make a position; longer where signs are slow.
        model: The model.
        augmentation: How recordings are changed anew in each epoch.
        batch: Seconds of sound in a batch, padding counted.
        longest: Seconds of the longest recording in training.
        ctc: Weight of CTC in the loss; the decoder's is 1 less it.
        flat_start: Epochs in which tokens are taken to be spread evenly over their recording, before CTC finds out
            where they are; one helps where recordings are short (0: none).
        label_smoothing: Share of the probability that is spread over all tokens, in the decoder's loss.
        metric: What validation maximises: accuracy, 100 less the word error rate.
        training: Optimiser, schedule, time.
        decoding: How `evaluate`, `predict` and `look` search; validation in training takes the likeliest labels (CTC).
        decoding_ctc: Weight of CTC in that search; the decoder's is 1 less it.
        language: Tokens of the n-grams that are counted in the training texts, for the search (0: none).
        decoding_language: Weight of these counts in it.
    """

    data: str
    files: Files = field(default_factory=Files)
    start: str | None = None
    sub_words: SubWords = field(default_factory=lambda: SubWords(vocabulary=200))
    rate: int = 16_000
    bands: int = 80
    step: float = 0.01
    model: Model = field(default_factory=Model)
    augmentation: SoundAugmentation = field(default_factory=SoundAugmentation)
    batch: float = 60.0
    longest: float = 30.0
    ctc: float = 0.3
    flat_start: int = 0
    label_smoothing: float = 0.1
    metric: Literal["accuracy"] = "accuracy"
    training: TrainingOptions = field(default_factory=TrainingOptions)
    decoding: Beam = field(default_factory=lambda: Beam(width=8, length_penalty=0.0))
    decoding_ctc: float = 0.3
    language: int = 6
    decoding_language: float = 0.1

    def __post_init__(self) -> None:
        for name in ("ctc", "decoding_ctc"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share, from 0 to 1; got {getattr(self, name)}")
        if self.model.decoder_layers and self.ctc == 1.0:
            raise ValueError("with --ctc 1 the decoder learns nothing: --model.decoder_layers 0, or --ctc 0.3")
        if self.language < 0 or self.decoding_language < 0.0:
            raise ValueError(
                f"language and decoding_language are 0 or more; got {self.language} and {self.decoding_language}"
            )
        if not 0.001 <= self.step <= 0.025:
            raise ValueError(f"step is in seconds, and frames last 0.025: from 0.001 to 0.025; got {self.step}")
        if self.flat_start < 0:
            raise ValueError(f"flat_start is 0 epochs or more; got {self.flat_start}")
        if self.longest <= 0 or self.batch <= 0:
            raise ValueError(f"batch and longest are seconds, more than 0; got {self.batch} and {self.longest}")

    @property
    def front(self) -> LogMel:
        """What makes features of sound."""
        return LogMel(self.rate, self.bands, step=self.step)
