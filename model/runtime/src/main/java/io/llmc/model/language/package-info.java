// SPDX-License-Identifier: Apache-2.0
/// Whole models: blocks between an embedding and a head.
package io.llmc.model.language;
