// SPDX-License-Identifier: Apache-2.0
/// What is trained, by which loss and rate, as an immutable description.
package io.llmc.distill.spec;
