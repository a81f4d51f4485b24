/// Text to token ids to windows.
package io.llmc.tokenizer;
