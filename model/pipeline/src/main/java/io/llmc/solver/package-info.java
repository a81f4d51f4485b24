// SPDX-License-Identifier: Apache-2.0

/// What quantizers and pruners share: Hessians of layers, their factors, patterns of zeros. Tensors
/// in, tensors out; nothing here knows a file.
package io.llmc.solver;
