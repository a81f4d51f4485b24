/// Scales of channels that make weights, or inputs, easier to round: AWQ and SmoothQuant.
package io.llmc.quantize.scales;
