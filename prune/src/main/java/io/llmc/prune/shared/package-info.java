// SPDX-License-Identifier: Apache-2.0
/// What several ways to prune look at.
package io.llmc.prune.shared;
