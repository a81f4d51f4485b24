// SPDX-License-Identifier: Apache-2.0
/// The same model in other coordinates: its residual stream and its heads turned, and every weight
/// with them.
package io.llmc.pipeline.rotation;
