"""Speech networks: Whisper's two halves and Wav2Vec2."""

from __future__ import annotations

import torch
import transformers as tf
from examples.networks.network import Inputs, Network
from examples.networks.text import causal_mask

Made = tuple[torch.nn.Module, list[Inputs]]


class WhisperEncoder(torch.nn.Module):
    """Log-mel frames to audio features."""

    def __init__(self, model: tf.WhisperModel) -> None:
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, input_features: torch.Tensor) -> torch.Tensor:
        return self.encoder(input_features).last_hidden_state


class WhisperDecoder(torch.nn.Module):
    """Tokens so far and audio features to the next tokens' logits, without a cache.

    The causal mask is made here, since the library's own contains operations that coremltools lacks (`diff`).
    """

    def __init__(self, model: tf.WhisperForConditionalGeneration, length: int) -> None:
        super().__init__()
        self.decoder, self.head = model.get_decoder(), model.proj_out
        self.register_buffer("mask", causal_mask(length)[None, None])

    def forward(self, decoder_input_ids: torch.Tensor, encoder_hidden_states: torch.Tensor) -> torch.Tensor:
        decoded = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=self.mask,
            encoder_hidden_states=encoder_hidden_states,
            use_cache=False,
        )
        return self.head(decoded.last_hidden_state)


class Wav2Vec2(torch.nn.Module):
    """A waveform to character logits, one row every 20 milliseconds."""

    def __init__(self, model: tf.Wav2Vec2ForCTC) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        return self.model(input_values).logits


def whisper_encoder() -> Made:
    config = tf.WhisperConfig()
    mel = {"input_features": torch.randn(1, config.num_mel_bins, 2 * config.max_source_positions)}
    return WhisperEncoder(tf.WhisperModel(config)), [mel]


def whisper_decoder(length: int = 32) -> Made:
    config = tf.WhisperConfig()
    inputs = {
        "decoder_input_ids": torch.randint(0, 50257, (1, length), dtype=torch.int32),
        "encoder_hidden_states": torch.randn(1, config.max_source_positions, config.d_model),
    }
    return WhisperDecoder(tf.WhisperForConditionalGeneration(config), length), [inputs]


def wav2vec2(seconds: float = 1.0) -> Made:
    model = tf.Wav2Vec2ForCTC(tf.Wav2Vec2Config())
    return Wav2Vec2(model), [{"input_values": torch.randn(1, int(16000 * seconds))}]


AUDIO = [
    Network("whisper_tiny_encoder", "Whisper-tiny, 30 seconds of log-mel frames to features", whisper_encoder),
    Network("whisper_tiny_decoder", "Whisper-tiny, 32 tokens and the features to logits", whisper_decoder),
    Network("wav2vec2_base", "Wav2Vec2 base, one second of sound to characters", wav2vec2),
]
