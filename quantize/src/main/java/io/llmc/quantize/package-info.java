/// Methods that store weights in fewer bits. A method is two files: a pass (when, which layers) and
/// its mathematics (tensors in, tensors out).
package io.llmc.quantize;
