// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;

/// A grid, and what the files that will hold it ask of it.
///
/// @param scaleType in which scales are made
/// @param minZero the smallest zero point that the layout can hold
public record GridSpec<C extends Codes>(Encoding.Grid<C> grid, DType scaleType, int minZero) {}
