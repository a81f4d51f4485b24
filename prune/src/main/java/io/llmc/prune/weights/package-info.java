// SPDX-License-Identifier: Apache-2.0
/// Single weights that become zero: magnitude, Wanda, SparseGPT, N:M, OWL.
package io.llmc.prune.weights;
