// SPDX-License-Identifier: Apache-2.0
/// Bounds that measured figures must keep.
package io.llmc.evaluation.gate;
