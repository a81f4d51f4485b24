// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

/// What becomes of an expert that saw too few calibration tokens for a Hessian.
public enum RareExperts {
    /// It is rounded to nearest, and named in the report.
    RTN,
    /// The run stops and names it.
    FAIL
}
