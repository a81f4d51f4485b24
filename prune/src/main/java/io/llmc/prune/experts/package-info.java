// SPDX-License-Identifier: Apache-2.0
/// Experts that go.
package io.llmc.prune.experts;
