/// What a compressed model is worth as a draft of its original: speculative decoding, measured.
package io.llmc.evaluation.speculation;
