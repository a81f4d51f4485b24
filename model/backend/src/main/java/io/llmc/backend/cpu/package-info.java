/// The CPU backend: one switch from operations to kernels, and the loops. The only package that may
/// use the Vector API.
///
/// No result depends on the number of threads: one worker computes an output element, in an order
/// that only the shapes decide. With portable math none depends on the width of the vectors either:
/// sums run along rows of lanes, never across lanes.
package io.llmc.backend.cpu;
