/// Decoder models as data and straight-line forward passes over the op seam. Knows no device.
package io.llmc.model;
