/**
 * How a seek is proven to give the frames that decoding from the beginning gives. Containers may mark any packet as a
 * keyframe, so:
 * - `decoder`: by the decoder, which reads in the stream itself what is a keyframe.
 * - `intra`: every packet is a picture of its own, whatever the container says.
 * - `none`: not at all. The frames are read by decoding from the beginning.
 */
export type SeekProof = 'decoder' | 'intra' | 'none';

/** Codecs whose decoders tell keyframes by what the stream says, and nothing before them is needed. */
const TOLD_BY_DECODER = new Set([
  ...['h264', 'hevc', 'vvc', 'av1', 'vp9', 'vp8', 'vp7', 'vp6', 'vp6a', 'vp6f', 'vp5', 'vp3', 'theora'],
  ...['mpeg1video', 'mpeg2video', 'mpeg4', 'msmpeg4v1', 'msmpeg4v2', 'msmpeg4v3', 'h263', 'h263p', 'flv1'],
  ...['wmv1', 'wmv2', 'wmv3', 'vc1', 'rv10', 'rv20', 'rv30', 'rv40', 'ffv1', 'snow'],
]);

const INTRA_ONLY = new Set([
  ...['mjpeg', 'mjpegb', 'prores', 'dnxhd', 'dvvideo', 'huffyuv', 'ffvhuff', 'hymt', 'utvideo', 'magicyuv', 'rawvideo'],
  ...['v210', 'v308', 'v408', 'v410', 'r210', 'r10k', 'y41p', 'ayuv', 'yuv4', 'jpeg2000', 'jpegls', 'jpegxl', 'png'],
  ...['tiff', 'targa', 'bmp', 'qoi', 'dpx', 'hap', 'dxv', 'cllc', 'asv1', 'asv2', 'speedhq', 'sheervideo', 'vble'],
]);

export function seekProofOf(codec: string): SeekProof {
  return TOLD_BY_DECODER.has(codec) ? 'decoder' : INTRA_ONLY.has(codec) ? 'intra' : 'none';
}

/** For filters: whether the decoder tells that decoding can begin at a frame. A keyframe that is not intra is none. */
export const IS_KEYFRAME = 'key*eq(pict_type,I)';
