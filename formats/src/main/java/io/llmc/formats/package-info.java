/// Model directories on disk: opening, checking and writing them. Depends on the JDK and Jackson
/// only.
///
/// A [Checkpoint] is what is there: config, table of tensors, side files. A [TensorReader] maps
/// tensors of it, a [CheckpointWriter] streams a new one out, and a [WeightLayout] says how a
/// linear layer's weight is spelled. Weights are read as dense, compressed-tensors `pack-quantized`
/// and GPTQ, versions 1 and 2; any other quantization is refused by name. Quantized activations and
/// caches (`kv_cache_scheme`, `k_scale`, `input_activations`) say how a runtime computes: they
/// leave the weights as they are and are not looked at.
package io.llmc.formats;
