// SPDX-License-Identifier: Apache-2.0
/// The report of a measurement as one page: no script, no network, charts in SVG.
package io.llmc.cli.report.html;
